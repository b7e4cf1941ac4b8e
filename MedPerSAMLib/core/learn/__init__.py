"""From a few annotated volumes: heads (AutoSAM) and prompt generators (ProMISe) learned on the frozen SAM."""
