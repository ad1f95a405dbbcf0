"""The model in PyTorch, with the images on the device and fused Adam, eager or with `torch.compile`.

With the argument `compile` before the task, the loss and its gradient are compiled (with CUDA graphs on a GPU).
"""

import itertools
import sys

import task
import torch


def main() -> None:
    given, compiled = task.read(), "compile" in sys.argv[1:-1]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    images, batch = torch.from_numpy(given["images"]).to(device), given["batch"]
    widths, layers = [images.shape[1], *given["widths"]], []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
    network = torch.nn.Sequential(*layers, torch.nn.Linear(widths[-1], widths[0])).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=given["learning_rate"], fused=True)

    def loss(pixels):
        return torch.nn.functional.binary_cross_entropy_with_logits(network(pixels), pixels)

    if compiled:
        loss = torch.compile(loss, mode="reduce-overhead" if device == "cuda" else None)

    def train_epoch():
        order = torch.randperm(len(images), device=device)
        total = torch.zeros((), device=device)
        for first in range(0, len(images) - batch + 1, batch):
            value = loss(images[order[first : first + batch]])
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            optimizer.step()
            total += value.detach()
        total.item()  # waits for the device

    task.serve({"torch": torch.__version__, "threads": torch.get_num_threads()}, train_epoch)


if __name__ == "__main__":
    main()
