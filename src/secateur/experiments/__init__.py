"""One network compressed in many ways under equal conditions."""
