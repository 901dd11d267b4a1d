"""What describes one face, one window of faces, or one sound track: sections 2.2 to 2.4 of the paper."""
