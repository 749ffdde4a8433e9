"""Engines that serve models: llama.cpp and vLLM, started and ended."""
