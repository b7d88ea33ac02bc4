"""The URL of a sweep's database, of which no password is ever shown."""

from urllib.parse import quote, quote_plus

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from secateur.errors import RunError


def parse_url(text: str) -> URL:
    """Parse a URL, as of ``--storage``.

    Raises:
        RunError: it is no URL, or it may hold a password that is not escaped.
    """
    try:
        url = make_url(text)
    except (SQLAlchemyError, ValueError):
        url = None
    # A second @ is part of a password, and splits it: the rest would be taken for the host.
    if url is None or (url.get_backend_name() != "sqlite" and text.count("@") > 1):
        raise RunError(
            "--storage: is not the URL of a database; write postgresql://USER:PASSWORD@HOST/NAME, "
            "with each @, :, /, ? and % of the password escaped (%40, %3A, %2F, %3F, %25)"
        )
    return url


def shown(url: URL) -> str:
    """Give a URL without its password and options."""
    # Where the host was forgotten, the password is taken for the port.
    port = url.port if url.username else None
    plain = URL.create(url.drivername, url.username, None, url.host, port, url.database)
    return plain.render_as_string()


def without_password(text: str, url: URL) -> str:
    """Replace the passwords of a URL in an error message of its driver."""
    options = [value for name, value in url.normalized_query.items() if "pass" in name.lower()]
    secrets = {url.password or "", *(each for values in options for each in values)}
    if not url.username:
        secrets.add(str(url.port or ""))
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        for form in (secret, quote(secret, safe=""), quote_plus(secret)):
            text = text.replace(form, "***")
    return text
