"""What the process needs: trusted imports, its environment, atomic files, precision and launch."""
