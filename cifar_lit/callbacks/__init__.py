"""Lightning callbacks, one class a file. What needs an epoch's metrics acts in `on_train_epoch_end`, where all are known."""
