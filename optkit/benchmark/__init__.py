"""Models on real engines, by turns, on the same inputs: latency, throughput, load time, memory and size on disk."""
