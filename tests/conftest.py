"""For every test: shapes and types of the mathematics are checked, and nothing is fetched from a hub."""

import os

from jaxtyping import install_import_hook

os.environ["HF_HUB_OFFLINE"] = "1"
install_import_hook("truing.functional", "beartype.beartype")
