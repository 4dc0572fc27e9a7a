"""Files that come from elsewhere, and files that others may read at any moment: archives, names that stay below their
folder, locks between processes, durable writes.

What the data sets of a training pod and the models of a serving pod have in common. Imports nothing of ours; its errors
are ValueErrors whose words the caller passes on under a name of its own.
"""

from trainserve.files.inside import EscapingName, inside, place_for
from trainserve.files.locks import Locks

__all__ = ["EscapingName", "Locks", "inside", "place_for"]
