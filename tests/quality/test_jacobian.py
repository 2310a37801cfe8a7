import numpy as np
import pytest
import torch

from hwnas.errors import MetricError
from hwnas.quality._jacobian import correlation, jacobian
from hwnas.seeds import seeded


def test_gradients_of_all_inputs_lie_side_by_side():
    one, two = torch.ones(2, 3, 2), torch.zeros(2, 4)
    assert jacobian([one, two]).tolist() == [[1] * 6 + [0] * 4] * 2


def test_correlation_is_that_of_numpy():
    with seeded(0):
        rows = torch.randn(5, 40, dtype=torch.float64)
    assert np.allclose(correlation(rows), np.corrcoef(rows), rtol=1e-12)


def test_networks_without_an_input_gradient():
    with pytest.raises(MetricError, match="takes no real numbers"):
        jacobian([])


@pytest.mark.parametrize("value", [0.0, 0.1, float("nan"), float("inf")])
def test_a_row_that_correlates_with_nothing(value):
    rows = torch.randn(3, 7, dtype=torch.float64)
    rows[1] = value
    with pytest.raises(MetricError, match="constant or not finite"):
        correlation(rows)
