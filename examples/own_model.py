"""An ordinary training script with Secateur: the lines marked "added" are new."""

import torch
from torch import Tensor, nn

import secateur  # added


def build() -> nn.Module:
    """Build a small convolutional network for pictures of (1, 16, 16) and four classes."""

    def block(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]

    blocks = [*block(1, 24), nn.MaxPool2d(2), *block(24, 48), *block(48, 48)]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 4))


def draw(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw noisy stripes in four directions: pictures (N, 1, 16, 16) and directions (N,)."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 4, (count,), generator=rng)
    angles = (labels * torch.pi / 4)[:, None, None]
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    phases = 6 * torch.rand(count, 1, 1, generator=rng)
    pictures = torch.sin(x * angles.cos() + y * angles.sin() + phases)
    return (pictures + 1.6 * torch.randn(count, 16, 16, generator=rng))[:, None], labels


def train(model: nn.Module, penalty: secateur.Penalties) -> None:  # the argument is added
    """Train for a few epochs."""
    pictures, labels = draw(1024, seed=0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    penalty.attach(optimizer)  # added
    model.train()
    for _ in range(5):
        for batch in torch.randperm(len(labels)).split(64):
            loss = nn.functional.cross_entropy(model(pictures[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def evaluate(model: nn.Module) -> float:
    """Return the accuracy on other pictures, in percent."""
    pictures, labels = draw(1024, seed=1)
    with torch.no_grad():
        return 100 * float((model.eval()(pictures).argmax(1) == labels).float().mean())


if __name__ == "__main__":
    torch.manual_seed(0)
    net = build()
    train(net, secateur.Penalties())  # no penalty: ordinary training
    goal = secateur.Goal(keep_macs=0.2)  # added
    x, _ = draw(2, seed=2)  # added
    result = secateur.compress(net, x, goal, train=train, evaluate=evaluate, report=print)  # added
    result.save("slim.safetensors")  # added
    slim = secateur.shrink_to(build(), "slim.safetensors")  # added
