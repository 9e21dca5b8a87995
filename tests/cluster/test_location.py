from __future__ import annotations

import pytest

from cluster.location import carries_credentials


@pytest.mark.parametrize(
    ("location", "secret"),
    [
        ("s3://bucket/x", False),
        ("s3://bucket/x?region=eu&endpoint_override=http://host:9000", False),
        ("abfss://container@account.dfs.core.windows.net/x", False),
        ("--out=s3://key:s3cr3t@bucket/x", True),
        ("https://account.blob/x?sig=s3cr3t", True),
        ("zip://a.csv::https://ana:s3cr3t@host/z", True),
        ("host=h password=s3cr3t", True),
        ("diffusion.width=512", False),
        ("a b/t.csv", False),
    ],
)
def test_which_places_carry_credentials(location: str, secret: bool) -> None:
    assert carries_credentials(location) is secret
