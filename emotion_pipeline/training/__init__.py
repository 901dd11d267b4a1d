"""The one training loop `fit`, the linear SVM `fit_svm`, the file of a trained model, and the device: `device_of`."""
