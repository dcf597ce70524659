"""`python -m ppm`, and with it `accelerate launch -m ppm build ...`."""

from ppm.cli.main import run

__all__ = ["run"]

if __name__ == "__main__":
    run()
