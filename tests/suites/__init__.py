"""Suites that a new backend or frontend subclasses."""

import pytest

pytest.register_assert_rewrite("tests.suites.backend_suite", "tests.suites.storage_suite")
