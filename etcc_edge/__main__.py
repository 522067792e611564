"""``python -m etcc_edge``"""

from etcc_edge.cli import main

main(prog_name="etcc-edge")
