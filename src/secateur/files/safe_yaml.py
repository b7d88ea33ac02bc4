"""YAML from strangers: plain values only, and no more work than its length calls for."""

from typing import Any

import yaml
from yaml.constructor import ConstructorError
from yaml.nodes import MappingNode
from yaml.scanner import ScannerError

# No recipe and no list of classes comes near it, and YAML is read slowly.
MOST_CHARACTERS = 2**18
DEEPEST = 50


class _Loader(yaml.SafeLoader):
    """Reads no merge keys: a few lines of them can stand for thousands of millions of entries.

    Nor does it read deep brackets, over each of which PyYAML looks through all the others.
    """

    def fetch_flow_collection_start(self, token: Any) -> None:
        if self.flow_level >= DEEPEST:
            raise ScannerError(None, None, "brackets are too deep", self.get_mark())
        super().fetch_flow_collection_start(token)

    def construct_scalar(self, node: Any) -> Any:
        value = super().construct_scalar(node)
        str(value).encode()  # half a character, which an escape can name, could be written nowhere
        return value

    def flatten_mapping(self, node: MappingNode) -> None:
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                raise ConstructorError(None, None, "merge keys (<<) are not read", key.start_mark)


def parse_yaml(text: str) -> Any:
    """Read a document of plain values; nothing is built that a tag names.

    Raises:
        ValueError: it is no valid YAML; the message is one line, and names the place.
    """
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"longer than {MOST_CHARACTERS:,} characters")
    try:
        # Safe, for it is made of the safe loader.
        return yaml.load(text, _Loader)  # noqa: S506
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}: " if mark else ""
        raise ValueError(f"{place}{' '.join((error.problem or 'not valid').split())}") from None
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    except RecursionError:
        raise ValueError("too deep") from None
    # Tags such as !!int make PyYAML raise other kinds where the value is none.
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"a value that is none ({' '.join(str(error).split())[:100]})") from None
