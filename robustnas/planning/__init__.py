"""What a run will take, measured by its first steps, and which size of a run fits the data and a budget of time."""
