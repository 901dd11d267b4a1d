"""Faces and sound as numbers (sections 2.2 to 2.4): `train_vgg`, `vgg_clip`, `train_c3d`, `c3d_clip`, `audio_clip`."""
