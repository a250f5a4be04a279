"""What runs inside an amphora. It installs and runs without the controller."""

__version__ = "0.1.0"
