"""What an experiment is, and all that leads from images on a disk to arrays."""
