"""Logits of another framework, corrected for the tail in one call: no training, no torch.

    python examples/adjust_logits.py

scikit-learn stands for any framework: what is needed is an array of logits, and the training images a class. The lines marked
`# ours` are all that tailwise adds.
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from tailwise.evaluation import macro_accuracy  # ours
from tailwise.posthoc import adjust_logits  # ours

COUNTS = [100, 64, 42, 27, 17, 11, 7, 4, 3, 2]  # training images of the digits 0 to 9

images, labels = load_digits(return_X_y=True)
of_class = [np.flatnonzero(labels == c) for c in range(10)]
shown = np.concatenate([rows[:n] for rows, n in zip(of_class, COUNTS, strict=True)])
held = np.concatenate([rows[100:] for rows in of_class])

model = LogisticRegression(C=0.01, max_iter=1000).fit(images[shown], labels[shown])
logits = model.decision_function(images[held])
adjusted = adjust_logits(logits, COUNTS, tau=1.0)  # ours

for name, scores in (("as trained", logits), ("adjusted", adjusted)):
    print(f"{name:<11} balanced accuracy {macro_accuracy(labels[held], scores, classes=10):.1%}")  # ours
