"""Scores and descriptors of several models -> seven scores per clip (section 2.6 of the paper): `fuse`."""
