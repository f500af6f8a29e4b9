// Components by themselves, for tests: rows and transfers that the test makes up, no server.
import '../../src/styles/tokens.css';
import '../../src/styles/base.css';

import { mount } from 'svelte';

import Harness from './Harness.svelte';

mount(Harness, { target: document.body });
