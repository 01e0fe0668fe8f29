"""Everything that reads or sets what Lightning keeps to itself: loops, checkpoints, signals, loggers, progress bars."""
