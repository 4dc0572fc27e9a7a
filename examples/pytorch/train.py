"""Handwritten digits with PyTorch: its own data, its own model, its own loop."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

EPOCHS, BATCH_SIZE, LEARNING_RATE = 15, 64, 1e-3


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(64 * 2 * 2, 128), nn.ReLU(), nn.Dropout(0.25), nn.Linear(128, 10)
        )

    def forward(self, images):
        return self.head(self.features(images))


torch.manual_seed(0)
digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
labels = torch.tensor(digits.target)
order = torch.randperm(len(images))
test, train = order[:360], order[360:]
test_images, test_labels = images[test], labels[test]
loader = DataLoader(TensorDataset(images[train], labels[train]), batch_size=BATCH_SIZE, shuffle=True)

model = Net()
optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
for epoch in range(1, EPOCHS + 1):
    model.train()
    total = 0.0
    for batch, truth in loader:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(batch), truth)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(truth)
    model.eval()
    with torch.no_grad():
        accuracy = (model(test_images).argmax(dim=1) == test_labels).float().mean().item()
    print(f"epoch {epoch}: loss {total / len(train):.4f}, test accuracy {accuracy:.4f}")
