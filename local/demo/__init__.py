"""The main job, told as a story on real data: `make demo` and `make demo-iot-analytics`."""
