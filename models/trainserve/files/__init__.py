"""Handling of files from untrusted sources and of files with concurrent readers: archives, confinement of names to a
folder, locks between processes, durable writes.

Shared by the data sets of training pods and the models of serving pods. Imports no other package of this project; its
errors are ValueErrors, whose messages the caller reports in an error class of its own.
"""

from trainserve.files.inside import EscapingName, inside, place_for
from trainserve.files.locks import Locks

__all__ = ["EscapingName", "Locks", "inside", "place_for"]
