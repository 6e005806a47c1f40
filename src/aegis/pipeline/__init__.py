"""The life of a call: `pipeline.py` is one screen, `stages/` has a file a stage, `recorder.py` makes the rows."""
