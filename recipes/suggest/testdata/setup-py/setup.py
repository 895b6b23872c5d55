#!/usr/bin/env python
"""python_requires='>=2.7' is history."""
import os

from setuptools import find_packages, setup

here = os.path.dirname(__file__)
install_requires = [
    "requests>=2.31",
    "lxml",
    'pyyaml>=6,<7',  # ours
]

setup(
    name="Crawler",
    version=open(os.path.join(here, "VERSION")).read(),
    packages=find_packages(),
    python_requires=">=3.8, <3.14",
    install_requires=install_requires,
    extras_require={
        "redis": ["redis"],
    },
    entry_points={"console_scripts": ["crawl=crawler.main:main"]},
)
