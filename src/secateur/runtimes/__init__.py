"""What runs a network: torch, ONNX Runtime and OpenVINO behind one interface."""
