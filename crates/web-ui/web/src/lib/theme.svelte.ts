// Light, dark, or as the system has it. `theme.js` applies a stored choice before the first paint.

export type Choice = 'system' | 'light' | 'dark';
export const CHOICES: readonly Choice[] = ['system', 'light', 'dark'];

function stored(): Choice {
  try {
    const value = localStorage.getItem('theme');
    return value === 'light' || value === 'dark' ? value : 'system';
  } catch {
    return 'system';
  }
}

class Theme {
  choice = $state<Choice>(stored());

  choose(choice: Choice): void {
    this.choice = choice;
    if (choice === 'system') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = choice;
    try {
      if (choice === 'system') localStorage.removeItem('theme');
      else localStorage.setItem('theme', choice);
    } catch {
      // Without storage the choice holds until the page is left.
    }
  }
}

export const theme = new Theme();
