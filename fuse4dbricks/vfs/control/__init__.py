"""The files of the mount itself: ``README.txt`` and what is in ``.auth/``."""
