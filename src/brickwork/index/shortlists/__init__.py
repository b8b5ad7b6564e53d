"""First stages: each kind finds candidates on a prefix of the vectors, fast and not always exactly.

flat     the prefix itself: exact                          4 bytes a number
int8     each number in 8 bits                             1 byte a number
binary   on which side of the mean each number lies        1 bit a number
hnsw     a graph of neighbours, walked                     4 bytes a number, and 256 a row for the graph
rabitq   the same lists, one bit a number                  1/8 byte a number, and 16 a row
ivf      lists around centres, 2 to 4 numbers in 4 bits    1/8 to 1/4 byte a number, and 8 a row

What is found here is put in order by exact comparison: :func:`run_plan`.
"""

from brickwork.index.shortlists.run import run_plan
from brickwork.index.shortlists.shortlist import Shortlist, build_shortlist, load_shortlist

__all__ = ["Shortlist", "build_shortlist", "load_shortlist", "run_plan"]
