"""The one training loop, and the device it runs on."""
