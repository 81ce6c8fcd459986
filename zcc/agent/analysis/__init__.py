"""From a launcher's request to a job, or to the reason why there is none."""
