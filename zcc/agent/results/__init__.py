"""What results are worth: the cache of this machine, the proof, the way back to the user's files."""
