import json

import pytest

from aejax.config import files


def test_what_cannot_be_written_whole_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "report.md"
    files.write(path, "mean ± std\n")
    with pytest.raises(UnicodeEncodeError):
        files.write(path, "half of it \ud800")
    assert path.read_bytes() == "mean ± std\n".encode()


def test_json_is_indented_and_ends_its_last_line(tmp_path):
    path, content = tmp_path / "results.json", {"mean": 0.1, "runs": [1, None]}
    files.write_json(path, content)
    assert json.loads(path.read_text()) == content and path.read_text().startswith('{\n  "mean": 0.1,\n')
    assert path.read_text().endswith("}\n") and list(tmp_path.iterdir()) == [path]
