from .config import (
    AejaxError as AejaxError,
    Coefficients as Coefficients,
    Config as Config,
    Corruption as Corruption,
    Data as Data,
    Devices as Devices,
    Hosts as Hosts,
    InputError as InputError,
    Loss as Loss,
    Model as Model,
    Schedule as Schedule,
    Training as Training,
    load_config as load_config,
)
from .data import Dataset as Dataset, load_dataset as load_dataset, require_fit as require_fit
from .evaluation import Run as Run, evaluate as evaluate, fit as fit, load as load
from .models import (
    Autoencoder as Autoencoder,
    Context as Context,
    Decoder as Decoder,
    Encoder as Encoder,
    Output as Output,
    Posterior as Posterior,
    SparseAutoencoder as SparseAutoencoder,
    Variational as Variational,
    frozen as frozen,
)
from .sweeps import Sweep as Sweep, sweep as sweep
from .training import Diverged as Diverged, Finish as Finish, Interrupted as Interrupted, PeerLost as PeerLost

__version__: str
