"""What runs a network: torch, ONNX Runtime and OpenVINO, in one table."""
