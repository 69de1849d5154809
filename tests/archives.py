"""Archives for the tests: good ones, and what is to be found of them."""

import io
import tarfile
import zipfile

GOOD = [("a/b.txt", b"hello"), ("c.txt", b""), ("./d/e/f.bin", bytes(range(250)) * 400)]


def zip_of(path, members):
    """A zip of names and contents; a tuple is a content and a Unix mode."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            if isinstance(content, tuple):
                content, mode = content
                info.create_system, info.external_attr = 3, mode << 16
            file.writestr(info, content)
    return path


def tar_of(path, members, mode="w"):
    """A tar of names and contents, or of names and TarInfo attributes."""
    with tarfile.open(path, mode) as file:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                file.addfile(info, io.BytesIO(content))
            else:
                for key, value in content.items():
                    setattr(info, key, value)
                file.addfile(info)
    return path


def files_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def left(folder):
    return sorted(path.name for path in folder.iterdir())
