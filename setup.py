"""Maps the folders of the repository to packages.

Two kinds of packages come out of one tree: the rooms (``data/`` is installed as ``itprobe.data``
and so on) and the thin Brain-Score plugins (``benchmarks/brainscore_plugin/`` is installed as
``brainscore_vision.benchmarks.itprobe``), because Brain-Score finds a plugin only inside its own
package folder.
"""

from setuptools import find_packages, setup

ROOMS = ("data", "metrics", "models", "benchmarks", "leaderboard")
PLUGIN_ROOMS = ("data", "metrics", "models", "benchmarks")
# Folders of templates and scripts; setuptools warns at length unless they are packages, too.
DATA_FOLDERS = ("leaderboard/site/templates", "leaderboard/site/static", "leaderboard/submission/templates")

package_dir = {"itprobe": "itprobe"}
packages = ["itprobe", *(f"itprobe.{name}" for name in find_packages("itprobe"))]

for room in ROOMS:
    package_dir[f"itprobe.{room}"] = room
    packages.append(f"itprobe.{room}")
    packages += [
        f"itprobe.{room}.{name}"
        for name in find_packages(room, exclude=["brainscore_plugin", "brainscore_plugin.*"])
    ]

packages += [f"itprobe.{folder.replace('/', '.')}" for folder in DATA_FOLDERS]

for room in PLUGIN_ROOMS:
    package_dir[f"brainscore_vision.{room}.itprobe"] = f"{room}/brainscore_plugin"
    packages.append(f"brainscore_vision.{room}.itprobe")

setup(packages=packages, package_dir=package_dir)
