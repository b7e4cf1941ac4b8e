"""The protocols of shared/data/README.md: every method on labelled data, scored, timed, printed and written as JSON."""
