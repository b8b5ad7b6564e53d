"""One loop, and what it needs: checkpoints, schedules, progress."""
