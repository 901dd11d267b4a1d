"""From video to smooth, upright faces (section 2.1): `detect_clip`, `align_clip`, `track_clip`, `quality_clip`."""
