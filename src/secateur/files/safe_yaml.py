"""YAML from unknown sources: plain values only, in time and memory that its length bounds."""

from typing import Any

import yaml
from yaml.constructor import ConstructorError
from yaml.nodes import MappingNode
from yaml.scanner import ScannerError

# Far more than any recipe or list of classes has; YAML is parsed slowly.
MAX_CHARACTERS = 2**18
MAX_DEPTH = 50


class _Loader(yaml.SafeLoader):
    """Refuses merge keys and deeply nested brackets.

    A few lines of merge keys can expand to billions of entries. PyYAML's time grows with the square
    of the depth of brackets.
    """

    def fetch_flow_collection_start(self, token: Any) -> None:
        if self.flow_level >= MAX_DEPTH:
            raise ScannerError(None, None, "brackets are too deep", self.get_mark())
        super().fetch_flow_collection_start(token)

    def construct_scalar(self, node: Any) -> Any:
        value = super().construct_scalar(node)
        str(value).encode()  # raises for half a surrogate pair, which no file can store
        return value

    def flatten_mapping(self, node: MappingNode) -> None:
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                raise ConstructorError(None, None, "merge keys (<<) are not read", key.start_mark)


def parse_yaml(text: str) -> Any:
    """Parse a document of plain values; tags cannot construct objects.

    Raises:
        ValueError: the text is not valid YAML; the message is one line and names the line number.
    """
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"longer than {MAX_CHARACTERS:,} characters")
    try:
        # _Loader extends the safe loader.
        return yaml.load(text, _Loader)  # noqa: S506
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f"line {mark.line + 1}: " if mark else ""
        raise ValueError(f"{line}{' '.join((error.problem or 'not valid').split())}") from None
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    # Tags such as !!int make PyYAML raise other errors for values that do not fit them.
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ValueError(
            f"a value that does not fit its tag ({' '.join(str(error).split())[:100]})"
        ) from None
