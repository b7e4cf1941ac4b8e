# STAND-IN: nothing to do.
