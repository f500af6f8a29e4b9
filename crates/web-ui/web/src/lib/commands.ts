// Every command that a screen shows. A test of each program reads them out of this file and has its own command line take them:
// one command to a line, what is filled in between braces.

import { quoted } from './format';

const COMMANDS = {
  accountAdd: 'backup-server account add NAME --role member --data-dir DIR',
  accountList: 'backup-server account list --data-dir DIR',
  accountPassword: 'backup-server account password {account} --data-dir DIR',
  audit: 'backup-server audit --data-dir DIR',
  backUp: 'backup-client backup ~/Documents',
  compare: 'diff <(backup-client ls {before} --recursive) <(backup-client ls {after} --recursive)',
  connect: 'backup-client connect {string}',
  deviceConfirm: 'backup-server device confirm --all --data-dir DIR',
  doctor: 'backup-server doctor --data-dir DIR',
  driveGet: 'backup-client get {path}',
  driveList: 'backup-client rlist',
  driveListFolder: 'backup-client rlist {path}',
  driveTrash: 'backup-client rlist --trash',
  driveUndelete: 'backup-client undelete --drive PATH',
  enroll: 'backup-server enroll --device {name} --data-dir DIR',
  find: 'backup-client ls --recursive latest | grep -iF {text}',
  gc: 'backup-server gc --data-dir DIR',
  retention: 'backup-server retention set {rules} --data-dir DIR',
  restoreLatest: 'backup-client restore latest ~/restored',
  restore: 'backup-client restore {snapshot} restored',
  restorePath: 'backup-client restore {snapshot}:{path} restored',
  setUpLink: 'backup-server account setup-link --data-dir DIR',
  shareAdd: 'backup-server share add {path} {options} --account {account} --data-dir DIR',
  shareList: 'backup-server share list --account {account} --data-dir DIR',
  shareRevoke: 'backup-server share revoke SHARE --data-dir DIR',
  snapshotList: 'backup-client ls {snapshot}',
  snapshotListPath: 'backup-client ls {snapshot}:{path}',
  snapshots: 'backup-client snapshots',
  snapshotsOf: 'backup-client snapshots --chain {chain}',
  snapshotsTrashed: 'backup-client snapshots --chain {chain} --trash',
  status: 'backup-server status --data-dir DIR',
  tokenAdd: 'backup-server token add NAME --scope restore --data-dir DIR',
  verify: 'backup-server verify --data-dir DIR',
} as const;

export type CommandName = keyof typeof COMMANDS;
type Holes<Text> = Text extends `${string}{${infer Hole}}${infer Rest}` ? Hole | Holes<Rest> : never;
/** What is filled in: a word, or several. */
type Words<Name extends CommandName> = Record<Holes<(typeof COMMANDS)[Name]>, string | readonly string[]>;

/** A command for a shell, each word that is filled in quoted if it must be. */
export function command<Name extends CommandName>(
  name: Name,
  ...[words]: Holes<(typeof COMMANDS)[Name]> extends never ? [] : [Words<Name>]
): string {
  const filled = words as Record<string, string | readonly string[]> | undefined;
  return COMMANDS[name].replace(/\{(\w+)\}/g, (_, hole: string) => [filled?.[hole] ?? []].flat().map(quoted).join(' '));
}
