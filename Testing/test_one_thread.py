"""Work on small tensors takes one thread and gives the others back, also when it fails."""

import pytest
import torch

from MedPerSAMLib.core.one_thread import one_thread


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_the_threads_come_back():
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    with pytest.raises(ValueError, match="stopped"), one_thread():
        raise ValueError("stopped")
    assert torch.get_num_threads() == 2
