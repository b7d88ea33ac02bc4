"""Many runs of one recipe's variations: compression methods, detection layers, sweeps."""
