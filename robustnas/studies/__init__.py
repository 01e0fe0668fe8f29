"""Many runs: which cells a study has, how they are run, and what came of them."""
