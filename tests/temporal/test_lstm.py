import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from emotion_pipeline.temporal.networks import AudioPerceptron, LSTMClassifier

LENGTHS = torch.tensor([5, 1, 3, 7])


@pytest.fixture
def features() -> Tensor:
    torch.manual_seed(0)
    features = torch.randn(4, 7, 6)
    for row, length in zip(features, LENGTHS, strict=True):
        row[length:] = 1e3  # padding that would be noticed
    return features


def model(layers: int = 1, bidirectional: bool = False, dropout: float = 0.0) -> LSTMClassifier:
    torch.manual_seed(1)
    return LSTMClassifier(6, 8, 5, 7, layers, bidirectional, dropout)


def packed(classifier: LSTMClassifier, features: Tensor, layers: int, bidirectional: bool) -> Tensor:
    """Last states of torch's own LSTM over packed sequences, with the same weights."""
    lstm = nn.LSTM(6, 8, layers, batch_first=True, bidirectional=bidirectional)
    state = {}
    for suffix, cells in (("", classifier.onward), ("_reverse", classifier.reversed)):
        for depth, cell in enumerate(cells):
            state |= {f"{k}"[:-1] + f"{depth}{suffix}": v for k, v in cell.state_dict().items()}
    lstm.load_state_dict(state)
    sequence = pack_padded_sequence(features, LENGTHS, batch_first=True, enforce_sorted=False)
    outputs, (last, _) = lstm(sequence)
    assert pad_packed_sequence(outputs, batch_first=True)[1].tolist() == LENGTHS.tolist()
    return torch.cat([last[-2], last[-1]], dim=1) if bidirectional else last[-1]


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_equals_packed_sequences(features, layers, bidirectional):
    classifier = model(layers, bidirectional).eval()
    descriptor, logits = classifier(features, LENGTHS)
    expected = classifier.final(packed(classifier, features, layers, bidirectional)).relu()
    torch.testing.assert_close(descriptor, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(logits, classifier.head(expected), rtol=1e-5, atol=1e-6)


def test_gradients_equal_those_of_packed_sequences(features):
    classifier = model(2, True)
    classifier(features, LENGTHS)[0].sum().backward()
    own = classifier.reversed[0].weight_hh_l0.grad.clone()
    classifier.zero_grad()
    assert own.abs().max() > 1e-3
    torch.manual_seed(1)
    again = model(2, True)
    one_by_one = sum(again(features[i : i + 1, :n], torch.tensor([n]))[0].sum() for i, n in enumerate(LENGTHS.tolist()))
    one_by_one.backward()
    torch.testing.assert_close(own, again.reversed[0].weight_hh_l0.grad, rtol=1e-4, atol=1e-6)


def loop(cell: nn.LSTM, sequence: list[Tensor]) -> list[Tensor]:
    """The outputs of one LSTM, step by step: Hochreiter and Schmidhuber's cell with a forget gate."""
    h = c = torch.zeros(8)
    outputs = []
    for x in sequence:
        gates = cell.weight_ih_l0 @ x + cell.bias_ih_l0 + cell.weight_hh_l0 @ h + cell.bias_hh_l0
        i, f, g, o = gates.split(8)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        outputs.append(h)
    return outputs


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
def test_equals_a_plain_loop_over_the_equations(features, layers, bidirectional):
    classifier = model(layers, bidirectional).eval()
    descriptors, logits = classifier(features, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        sequence = list(features[row, :length])
        for depth in range(layers):
            passes = [loop(classifier.onward[depth], sequence)]
            ends = passes[0][-1]
            if bidirectional:
                backward = loop(classifier.reversed[depth], sequence[::-1])
                ends = torch.cat([ends, backward[-1]])  # of the first frame: the last that the backward pass sees
                passes.append(backward[::-1])
            sequence = [torch.cat(both) for both in zip(*passes, strict=True)]
        descriptor = torch.relu(classifier.final.weight @ ends + classifier.final.bias)
        torch.testing.assert_close(descriptors[row], descriptor, rtol=1e-5, atol=1e-6)
        score = classifier.head.weight @ descriptor + classifier.head.bias
        torch.testing.assert_close(logits[row], score, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e30, -1e30])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
def test_no_value_in_the_padding_matters(features, layers, bidirectional, value):
    classifier = model(layers, bidirectional).eval()
    expected = classifier(features, LENGTHS)
    beyond = torch.arange(features.shape[1]) >= LENGTHS[:, None]
    spoiled = features.masked_fill(beyond[..., None], value)
    torch.testing.assert_close(classifier(spoiled, LENGTHS), expected, rtol=0, atol=0)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_neither_batch_order_nor_padding_matters(features, bidirectional):
    classifier = model(2, bidirectional, dropout=0.5).eval()
    _, logits = classifier(features, LENGTHS)
    order = torch.tensor([2, 0, 3, 1])
    wider = torch.cat([features, torch.full((4, 9, 6), -7.0)], dim=1)
    _, other = classifier(wider[order], LENGTHS[order])
    torch.testing.assert_close(other, logits[order], rtol=1e-5, atol=1e-6)


def test_dropout_falls_on_the_outputs_of_the_cells(features):
    classifier = model(dropout=0.5).train()
    seen = []
    classifier.final.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    classifier(features, LENGTHS)
    share = (seen[0] == 0).float().mean()
    assert 0.2 < share < 0.8


@pytest.mark.parametrize(("hidden", "descriptor"), [(2230, 297), (1324, 304)])
def test_sizes_of_the_paper(hidden, descriptor):
    with torch.device("meta"):
        classifier = LSTMClassifier(4096, hidden, descriptor)
    count = sum(p.numel() for p in classifier.parameters())
    gates = 4 * hidden * (4096 + hidden + 2)
    assert count == gates + descriptor * (hidden + 1) + 7 * (descriptor + 1)


def test_perceptron_sizes_and_descriptor():
    torch.manual_seed(0)
    perceptron = AudioPerceptron(dropout=0.5)
    assert sum(p.numel() for p in perceptron.parameters()) == 279 * 1583 + 2 * 279 + 7 * 280
    x = torch.randn(4, 1582)
    perceptron.train()
    descriptor, _ = perceptron(x[:, None])
    hidden = perceptron.hidden(x)
    normed = (hidden - hidden.mean(0)) / (hidden.var(0, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(descriptor, normed.relu())
