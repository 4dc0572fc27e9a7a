"""Save the schemas of today's configurations as those of a release: `python -m tests.models.released RELEASE`."""

import json
import sys
from pathlib import Path

from trainserve.models.config import Config
from trainserve.models.script.config import ScriptConfig

release = sys.argv[1]
kept = {"release": release, "config": Config.model_json_schema(), "script": ScriptConfig.model_json_schema()}
(Path(__file__).parent / f"{release}.json").write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
